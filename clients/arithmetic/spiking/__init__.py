"""Spiking nets: leaky integrate-and-fire neurons over T time steps, trained through time.

The axis of time stands behind that of records, [B, T, ...]: so a layer's rule adds up the gradients
of all steps of a record before it takes their norm, and one pass is enough under DP.

neurons      membranes that leak, fire and are reset; surrogate gradients
membranes    their kernels, with the pooling of spikes
coding       records as spikes: by rate, by latency, or as a current
weights      dense layers and convolutions whose weights are used at each step
plasticity   neurons that learn by spike timing, without labels
conversion   a trained net of ReLUs as a spiking one
chain        a whole net, what it would answer earlier, and how often it fires
layers       what a model is built of
"""
