"""One file per format: how it is recognised, and how its records become rows. `sniff.FORMATS` lists them."""
