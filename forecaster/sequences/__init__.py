"""Batches of sequences through the same cells: the classical shapes of sequence work beside the stream.

    config.py     what can be chosen: task, inputs, output, stack, training
    batch.py       sequences side by side, with masks
    layout.py     parameters: one flat buffer, named views, seeded initial values
    unroll_kernels.py     kernels: a layer over time, forward and backward, steps masked
    dense.py      kernels: products without recurrence, layer normalisation
    stack.py      layers on each other: residual connections, normalisation, dropout
    outputs.py    what the head's numbers mean: values, quantiles, classes; their losses
    network.py    a chunk of a batch forward and backward, for each task
    model.py      the object a user holds: predict, step, rollout, save
    training.py   truncated BPTT over shuffled batches, Adam, the best weights kept

The public names are in `forecaster`.
"""
