"""An AnnData set up with every role of its columns, and a model of it."""

from latome.model import SCVI

TRAINING = {"max_epochs": 3, "batch_size": 32, "accelerator": "cpu"}
ROLES = {"batch_key": "batch", "labels_key": "cell_type", "categorical_covariate_keys": ["kit"],
         "continuous_covariate_keys": ["age"]}


def made(adata, **set_up):
    """A model of it, trained for a moment."""
    SCVI.setup_anndata(adata, **set_up)
    model = SCVI(adata, n_hidden=12, n_latent=3)
    model.train(**TRAINING)
    return model
