"""MediaPipe's body points by number, of each pair the person's left one first."""

NOSE = 0
EYES, EARS, MOUTH = (2, 5), (7, 8), (9, 10)
SHOULDERS, ELBOWS, WRISTS = (11, 12), (13, 14), (15, 16)
HIPS, KNEES, ANKLES, HEELS, TOES = (23, 24), (25, 26), (27, 28), (29, 30), (31, 32)

SEEN = 0.3
"""Points less visible than this are not believed (METHOD section 4)."""
