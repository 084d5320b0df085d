"""The command line: one file per command; everything else is called from here."""
