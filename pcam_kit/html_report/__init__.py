"""The report: one HTML file about a run, or about several, with everything inside it.

`contents` is what it shows, `page` lays it out. Nothing in it is loaded from anywhere: styles,
script, pictures and plots are in the file.
"""
