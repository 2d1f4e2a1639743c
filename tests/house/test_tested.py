"""Every module is named by a test: as the test's own name, or as what it imports or mentions."""

import re

TESTED_BY = {
    "api/npas_api/content_negotiation.py": "tests/api/test_problems.py",
    "api/npas_api/dataset_shapes.py": "tests/api/test_datasets.py",
    "api/npas_api/dependencies.py": "tests/api/test_jobs.py",
    "api/npas_api/idempotency_key.py": "tests/api/test_jobs.py",
    "api/npas_api/pagination.py": "tests/api/test_results.py",
    "api/npas_api/refusal.py": "tests/api/test_problems.py",
    "api/npas_api/replies.py": "tests/api/test_statements.py",
    "api/npas_api/schemas.py": "tests/api/test_openapi.py",
    "api/npas_api/sweep_schemas.py": "tests/api/test_openapi.py",
    "api/npas_api/starts.py": "tests/api/test_descendants.py",
    "client/npas_client/check.py": "tests/client/test_demo.py",
    "core/npas/arch/meta.py": "tests/library/arch/test_arch.py",
    "core/npas/arch/graph/bindings.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/calls.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/functional.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/merging.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/network.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/readings.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/recording.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/graph/starts.py": "tests/library/arch/graph/test_declaration.py",
    "core/npas/arch/own/family.py": "tests/library/own/test_reading.py",
    "core/npas/arch/own/refusal.py": "tests/library/own/test_reading.py",
    "core/npas/arch/own/sameness.py": "tests/library/own/test_files.py",
    "core/npas/arch/own/tensors.py": "tests/library/own/test_files.py",
    "core/npas/command.py": "tests/packaging/test_wheel.py",
    "core/npas/delivery/exports/safetensors.py": "tests/library/exports/test_exports.py",
    "core/npas/delivery/exports/torch_export.py": "tests/library/exports/test_exports.py",
    "core/npas_local/confinement.py": "tests/local/test_checking.py",
    "core/npas/data/_importing/album.py": "tests/data/importing/test_importer.py",
    "core/npas/data/_importing/cache.py": "tests/data/test_images.py",
    "core/npas/data/_importing/canonical.py": "tests/data/importing/test_importer.py",
    "core/npas/data/_importing/findings.py": "tests/data/importing/test_importer.py",
    "core/npas/data/_importing/limits.py": "tests/data/importing/test_importer.py",
    "core/npas/data/_importing/report.py": "tests/data/importing/test_importer.py",
    "core/npas/data/_importing/tabled.py": "tests/data/importing/test_layout.py",
    "core/npas/data/_importing/tables.py": "tests/data/importing/test_layout.py",
    "core/npas/data/_importing/thumbnails.py": "tests/data/importing/test_importer.py",
    "core/npas/delivery/ensemble_report.py": "tests/run/test_ensemble_delivery.py",
    "core/npas/delivery/report_part.py": "tests/run/test_run.py",
    "core/npas/delivery/start_report.py": "tests/run/test_join.py",
    "core/npas/ensembles/robustness.py": "tests/run/test_ensemble_delivery.py",
    "core/npas/jobs/devices.py": "tests/run/test_run.py",
    "core/npas/jobs/job.py": "tests/run/test_run.py",
    "core/npas/jobs/loop.py": "tests/run/test_run.py",
    "core/npas/jobs/passes.py": "tests/run/test_every_method.py",
    "core/npas/jobs/progress.py": "tests/run/test_run.py",
    "core/npas/jobs/questions.py": "tests/run/test_allocation.py",
    "core/npas/jobs/record.py": "tests/run/test_run.py",
    "core/npas/jobs/resume_size.py": "tests/run/test_every_method.py",
    "core/npas/jobs/revisions.py": "tests/run/test_refinement.py",
    "core/npas/jobs/stage_work.py": "tests/run/test_every_method.py",
    "core/npas/jobs/stages.py": "tests/run/test_run.py",
    "core/npas/jobs/trainers.py": "tests/run/test_run.py",
    "core/npas/planning/inputs.py": "tests/library/planning/test_planner.py",
    "core/npas/planning/scale.py": "tests/library/recipes/test_recipes.py",
    "core/npas/sharing/checks.py": "tests/library/sharing/test_model.py",
    "core/npas/sharing/precision.py": "tests/library/sharing/test_contexts.py",
    "core/npas/sharing/origin.py": "tests/library/sharing/test_membership.py",
    "core/npas/delivery/exports/onnx.py": "tests/library/exports/test_exports.py",
    "core/npas/sharing/alignment/matching.py": "tests/library/sharing/test_alignment.py",
    "core/npas/jobs/beginning.py": "tests/run/test_conversion.py",
    "core/npas/spec/architecture.py": "tests/api/test_openapi.py",
    "core/npas/spec/budget.py": "tests/library/planning/test_file_budget.py",
    "core/npas/spec/dataset.py": "tests/api/test_openapi.py",
    "core/npas/spec/limits.py": "tests/api/test_openapi.py",
    "core/npas/spec/module.py": "tests/library/own/test_reading.py",
    "core/npas/spec/validation.py": "tests/api/test_problems.py",
    "core/npas/spec/checked.py": "tests/api/test_openapi.py",
    "core/npas/spec/sweep_points.py": "tests/library/spec/test_sweep.py",
    "core/npas/testing/parts.py": "tests/library/recipes/test_recipes.py",
    "core/npas/train/epoch.py": "tests/train/test_trainer.py",
    "core/npas/train/mutual.py": "tests/train/test_objective.py",
    "core/npas/train/repeatable.py": "tests/train/test_trainer.py",
    "core/npas/train/commands.py": "tests/train/test_trainer.py",
    "core/npas/train/setting.py": "tests/train/test_trainer.py",
    "worker/npas_worker/account.py": "tests/client/test_estimates.py",
    "core/npas_local/probing.py": "tests/local/test_serve.py",
    "core/npas_store/submission.py": "tests/store/test_jobs.py",
    "core/npas_store/snapshot.py": "tests/local/test_backup.py",
    "worker/npas_worker/listener.py": "tests/worker/test_training.py",
    "worker/npas_worker/patience.py": "tests/worker/test_writer.py",
    "worker/npas_worker/probe.py": "tests/worker/test_proof.py",
    "worker/npas_worker/signals.py": "tests/faults/test_stop.py",
}
"""Modules that no test names, and the test that goes through them."""

KINDS = ("methods", "recipes", "data", "artifacts", "arch/families", "corruptions")
"""Folders whose files are found by name: the conformance tests go through all of them."""


def modules(packages):
    """Yield (dotted name, source) of each module that a test should name."""
    for source in packages:
        folder, name = str(source.path.parent), source.path.stem
        is_found_by_name = folder.endswith(KINDS) and folder.startswith("core/npas/")
        if name.startswith("_") or is_found_by_name:
            continue
        yield ".".join((*source.path.parts[1:-1], name)), source


def unnamed(packages, tests):
    """Yield the modules that no test names."""
    words = "\n".join(source.text for source in tests)
    files = {source.path.stem for source in tests}
    for dotted, source in modules(packages):
        package, _, name = dotted.rpartition(".")
        imported = rf"from {re.escape(package)} import [^\n]*(\(\n[^)]*)?\b{name}\b"
        is_named = re.search(rf"\b{re.escape(dotted)}\b", words) or re.search(imported, words)
        if f"test_{name}" not in files and not is_named:
            yield str(source.path)


def test_every_module_is_named_by_a_test(packages, code):
    tests = [source for source in code if source.path.parts[0] == "tests"]
    found = set(unnamed(packages, tests))
    assert found == set(TESTED_BY), "name it in a test, or say here which one goes through it"


def test_tests_that_go_through_modules_exist(root):
    assert [name for name in TESTED_BY.values() if not (root / name).is_file()] == []


def test_guard_catches_an_untested_module(source):
    module = source("x = 1\n", "core/npas/jobs/race.py")
    test = source("from npas.jobs.race import x\n", "tests/run/test_other.py")
    assert [*unnamed([module], [test])] == []
    assert len([*unnamed([module], [])]) == 1
    assert [*unnamed([module], [source("", "tests/run/test_race.py")])] == []
