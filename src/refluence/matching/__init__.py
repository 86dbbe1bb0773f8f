"""What 'alike' means: statistics, discrepancies, Siamese augmentation."""
