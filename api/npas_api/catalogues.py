"""/v1/architectures, /v1/methods: what a request can name, with its options."""

from fastapi import APIRouter, Depends, Request

from npas_api import content_negotiation, errors, schemas
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1",
    tags=["catalogues"],
    dependencies=[Depends(content_negotiation.json_only)],
    responses=problems_of(
        errors.NotAcceptableError, errors.BusyError, errors.PlannerUnavailableError
    ),
)


@router.get("/architectures")
async def list_architectures(request: Request) -> schemas.Catalogue:
    """List the architecture families, with the JSON Schema of their options."""
    return schemas.Catalogue(data=await request.app.state.planner.catalogue("architectures"))


@router.get("/methods")
async def list_methods(request: Request) -> schemas.Catalogue:
    """List the sharing methods, with the JSON Schema of their options."""
    return schemas.Catalogue(data=await request.app.state.planner.catalogue("methods"))
