"""Ready experiments: `privet run NAME`."""
