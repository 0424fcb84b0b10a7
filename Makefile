# Everything runs from .venv, which is made once and again only when the dependencies change.
# TORCH_INDEX chooses another PyTorch index, such as the one for CPUs that PyTorch's own page names.
# ARGS goes to `ltx-live play`: make play ARGS="--fullscreen --screen 2"

BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: play test check fix fuzz bench

play: $(INSTALLED)
	@bash tools/system-packages.sh play || echo "going on without them" >&2
	@$(BIN)/ltx-live play $(ARGS)

test: $(INSTALLED)
	@bash tools/system-packages.sh test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not real_time"
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -m real_time

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_readme.py

fix: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/readme_table.py

fuzz: $(INSTALLED)
	FUZZ=$${FUZZ:-60} $(BIN)/python -m pytest -q --timeout 0 tests/control/test_osc_fuzz.py tests/control/test_midi_fuzz.py tests/test_show_file.py

bench: $(INSTALLED)
	$(BIN)/ltx-live bench pocket
	$(BIN)/ltx-live bench loop --model pocket
	$(BIN)/ltx-live bench seams --model pocket
	$(BIN)/ltx-live bench modes --model pocket
	$(BIN)/ltx-live bench latency --model pocket
	$(BIN)/ltx-live bench sync
	$(BIN)/ltx-live bench control

$(INSTALLED): pyproject.toml constraints.txt
	@bash tools/environment.sh
	@touch $@
