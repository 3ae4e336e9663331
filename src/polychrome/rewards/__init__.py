"""What a reply is worth while training: the registry, the heuristic reward, the mix, the bonus for differing."""
