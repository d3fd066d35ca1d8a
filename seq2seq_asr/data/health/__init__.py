"""Is a corpus fit to train and test on? One file a kind of check; ``examine`` runs them in one pass."""
