"""Sequence models: networks of the same cells over batches of sequences, for the tasks outside streaming.

    config.py            configuration: task, inputs, output, stack, training
    batch.py             batches of sequences with masks
    layout.py            parameters: one flat buffer, named views, seeded initial values
    packing.py           kernels: packed weights and features of a chunk
    unroll_kernels.py    kernels: a layer over time, forward and backward, steps masked
    dense.py             kernels: products without recurrence, layer normalisation
    narrow_head.py       kernels: a linear head of few outputs
    stack.py             stacked layers: residual connections, normalisation, dropout
    outputs.py           outputs of the head: values, quantiles, classes; their losses
    network.py           a chunk of a batch forward and backward, for each task
    model.py             the public model: predict, step, rollout, save
    training.py          truncated BPTT over shuffled batches, Adam; the best weights are returned

The public names are in `forecaster`.
"""
