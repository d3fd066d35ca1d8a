"""Audio, manifests, tokenizer, augmentation and batches."""
