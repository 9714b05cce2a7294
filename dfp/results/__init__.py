"""What was found: kept with its certificate, written, read, drawn and compared; nothing is computed anew."""
