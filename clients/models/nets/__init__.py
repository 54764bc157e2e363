"""Ready nets: builders `(model, form, layers) -> nn.Module`, entered in `clients.models.MODELS`.

shapes       records of a form as the image or the sequence that a net reads
perceptron   dense layers on all that a record has
linear       one dense layer, also on a fixed transform
convnet      two convolutions and two dense layers
strided      one strided convolution, squares between
sequences    cnn1d, gru, lstm and attention
tabular      embeddings of categories, and a perceptron
tiny         ds-cnn, resnet8 and mobilenet, of MLPerf Tiny
autoencoder  dense, of MLPerf Tiny
"""
