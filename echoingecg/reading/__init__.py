"""Reading: ECG files of any format through a student as an evaluation judged it, and search by likeness."""
