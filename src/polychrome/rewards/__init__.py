"""What a reply is worth: whether it is well-formed, the heuristic reward, and the interface all rewards share."""
