"""/v1/architectures, /v1/methods, /v1/datasets: what a request can name, with its options."""

import importlib

from fastapi import APIRouter, Depends
from npas_store.settings import settings

from npas_api import accept, errors, shapes
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1",
    tags=["catalogues"],
    dependencies=[Depends(accept.json_only)],
    responses=problems_of(errors.NotAcceptableError),
)


@router.get("/architectures")
def list_architectures() -> shapes.Catalogue:
    """List the architecture families, with the JSON Schema of their options."""
    return shapes.Catalogue(data=importlib.import_module("npas.arch").catalogue())


@router.get("/methods")
def list_methods() -> shapes.Catalogue:
    """List the sharing methods, with the JSON Schema of their options."""
    return shapes.Catalogue(data=importlib.import_module("npas.methods").catalogue())


@router.get("/datasets")
def list_datasets() -> shapes.Catalogue:
    """List the datasets, whether they are here, and how to get those that are not."""
    catalogue = importlib.import_module("npas.data").catalogue
    return shapes.Catalogue(data=catalogue(settings().data_folder))
