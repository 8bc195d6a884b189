"""Tables 1 to 7 and Figures 4 to 6 of the coarse-refine paper, from any user's table of images."""
