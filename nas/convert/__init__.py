"""Conversion: which layers of a trained vision transformer may drop softmax attention, and what it costs."""
