"""Records the memory of every process while pytest runs, and says what each test used."""
