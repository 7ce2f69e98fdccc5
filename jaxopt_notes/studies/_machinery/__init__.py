"""What runs, judges and prints the demonstrations; the demonstrations themselves are the files beside this folder."""
