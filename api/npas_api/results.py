"""/v1/results: what all jobs delivered, to compare and to choose from."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from npas_store import listings
from npas_store.database import autocommitting

from npas_api import content_negotiation, errors, pagination, schemas
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/results", tags=["results"], dependencies=[Depends(content_negotiation.json_only)]
)


@router.get(
    "",
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=pagination.LABEL_PARAMETER,
)
def list_results(
    query: Annotated[pagination.ResultQuery, Query()], request: Request, response: Response
) -> schemas.ResultPage:
    """List delivered networks, the most accurate first; filters can be combined."""
    wanted, order = pagination.filtered(query), pagination.ordered(query)
    with autocommitting() as session:
        page = listings.results(
            session,
            wanted,
            order=order,
            after=pagination.placed(query.after, order),
            limit=query.limit,
        )
    following = pagination.following(page, order)
    pagination.link(request, response, following)
    data = [schemas.Result.of(job) for job in page.jobs]
    return schemas.ResultPage(data=data, has_more=page.has_more, next=following)
