"""Conversion of a trained model: which layers may drop softmax attention, and at what price."""
