"""A library of sounds in one SQLite file: filled, kept true to its folders, searched, exported."""
