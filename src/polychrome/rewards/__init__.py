"""What a reply is worth: whether it is well-formed, the heuristic reward, what all rewards share, variety of a set."""
