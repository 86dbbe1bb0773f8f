"""What tests of several rooms share: small networks, losses and data by name, and the brute force that they are held to."""
