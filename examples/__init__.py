"""Two examples of the features at work: ``predict_failures`` trains a model, ``bearings`` judges a threshold."""
