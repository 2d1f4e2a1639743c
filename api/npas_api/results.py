"""/v1/results: what all jobs delivered, to compare and to choose from."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from npas_store import listings
from npas_store.database import reading

from npas_api import accept, errors, queries, shapes
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/results", tags=["results"], dependencies=[Depends(accept.json_only)]
)


@router.get(
    "",
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=queries.LABEL_PARAMETER,
)
def list_results(
    query: Annotated[queries.ResultQuery, Query()], request: Request, response: Response
) -> shapes.ResultPage:
    """List delivered networks, the most accurate first; filters can be combined."""
    wanted, order = queries.filtered(query), queries.ordered(query)
    with reading() as session:
        page = listings.results(
            session,
            wanted,
            order=order,
            after=queries.placed(query.after, order),
            limit=query.limit,
        )
    following = queries.following(page, order)
    queries.link(request, response, following)
    data = [shapes.Result.of(job) for job in page.jobs]
    return shapes.ResultPage(data=data, has_more=page.has_more, next=following)
