"""The way in from the network: who may, and the right answer to everything that comes."""
