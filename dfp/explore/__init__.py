"""A page on this machine alone that solves as its sliders move, or shows what a file holds (extra ``dfp[explore]``).

``picture`` computes what is seen, ``live`` and ``run`` lay it out, ``server`` shows it to one browser. The page is one
of Bokeh, whose server sends what has changed and nothing else, and the whole of BokehJS from here.
"""
