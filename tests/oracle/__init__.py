"""The slow, obvious version of every operator of profile `tflite_ref`; `hawq.py` is profile `hawq`.

Plain Python, one element at a time; NumPy only holds arrays and computes single float32 steps where
the definition says float32. Nothing here imports hwsim. `README.md` lists what LiteRT does
differently from what one would expect.
"""
