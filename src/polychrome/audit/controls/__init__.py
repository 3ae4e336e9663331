"""Would the ruler lie? Comparisons whose outcome is known beforehand, put through the code that makes the others."""
