"""New tissue: images of any size as tiles of a run's patch size, and what is made of their answers.

`inputs` finds the images, `pictures`, `tifs` and `slides` read them, `colours` makes them RGB,
`spacing` knows how large a pixel is, `tiles` cuts them, `journal` keeps what is done, `table` and
`heatmap` write the results. The network is asked in `workflows.apply`.
"""
