"""Task files, and tunings from the first prediction to the measured frontier."""
