"""What people like: ranks, the learned reward, the judge."""
