"""One file a corpus: raw layout to manifests."""
