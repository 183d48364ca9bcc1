"""Published weights in and out: the released file layout and ours."""
