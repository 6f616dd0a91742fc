# Every verb of the project; `make help` lists them. Extra arguments for Ansible and pytest: ARGS="...".
.DEFAULT_GOAL := help
.PHONY: help run test down status ssh exec impair link capture graph lint docs bench soak fuzz matrix test-gns3 compare release lock clean venv system
MAKEFLAGS += --no-print-directory

ARGS ?=
# Tools of .venv first; /usr/sbin because a plain user's PATH often lacks ip and debugfs.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH:/usr/sbin:/sbin"

# Another lab than that of inventory/group_vars/all/lab.yml: LAB=second.
LAB ?=
LAB_FOLDER = .lab/$(or $(LAB),main)
HOST ?= alpine-1
LAB_PROGRAM = $(IN_VENV) python roles/lab_embedded/files/lab.py
PLAYBOOK = $(IN_VENV) ansible-playbook$(if $(LAB), -e lab_id=$(LAB))

help: ## List the targets (default)
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'

run: venv system ## Main job: lab up, five modes, comparison, report (one mode: ARGS="--tags multi_thread")
	@$(PLAYBOOK) run_all.yml $(ARGS)

test: venv ## Every check and test, on a lab of its own
	@tools/system_requirements.sh test
	@tools/system_requirements.sh browser
	@$(IN_VENV) pytest -n 2 --dist loadscope $(ARGS)

down: venv system ## Remove the lab and all that a run left behind
	@$(PLAYBOOK) playbooks/lab_down.yml $(ARGS)
	@$(IN_VENV) PYTHONPATH=files:roles/lab_embedded/files python -m bench.hosts

status: venv ## Show the lab: hosts, links, impairments, captures (ARGS=--json)
	@$(LAB_PROGRAM) status --table $(LAB_FOLDER) $(ARGS)

ssh: venv ## Shell on a host: HOST=alpine-1
	@$(LAB_PROGRAM) exec $(LAB_FOLDER) $(HOST)

exec: venv ## Command on a host, with its exit status: HOST=alpine-1 CMD="uname -a"
	@$(LAB_PROGRAM) exec $(LAB_FOLDER) $(HOST) "$$CMD"

impair: venv ## Show the links' impairments, or set them on the running lab: PROFILE=lossy (perfect again: PROFILE=clean)
	@$(PLAYBOOK) playbooks/lab_impair.yml -e lab_impair=$(if $(PROFILE),set -e lab_impairment=$(PROFILE),show) $(ARGS)

link: venv ## Pull or plug a host's cable: HOST=alpine-3 STATE=down|up
	@$(PLAYBOOK) playbooks/lab_link.yml -e lab_host=$(HOST) -e lab_link=$(STATE) $(ARGS)

capture: venv ## Record what passes a host's port, into results/captures: HOST=alpine-2 STATE=start|stop
	@$(PLAYBOOK) playbooks/lab_capture.yml -e lab_host=$(HOST) -e lab_capture=$(STATE) $(ARGS)

graph: venv ## Draw the lab's topology into results: SVG and Mermaid
	@$(PLAYBOOK) playbooks/lab_graph.yml $(ARGS)

lint: venv ## Static checks only: linters, types, specs, syntax
	@$(IN_VENV) pytest tests/static $(ARGS)

docs: venv ## Renew what is made from the code: variable tables of the roles, tags and table of the modes, the drawing
	@$(IN_VENV) python tools/role_docs.py
	@$(IN_VENV) PYTHONPATH=files python tools/mode_docs.py
	@$(IN_VENV) PYTHONPATH=plugins python tools/topology_docs.py

bench: venv system ## Measure udpxfer beside other transfer programs (90 minutes; a part: ARGS="--networks veth --sizes 10MB")
	@$(IN_VENV) PYTHONPATH=files:roles/lab_embedded/files python -m bench $(ARGS)

soak: venv system ## Long tests of udpxfer: simulated networks for SECONDS (default 600), then faults, attacks, bad links
	@$(IN_VENV) python -m tests.simulation --seconds $(or $(SECONDS),600)
	@$(IN_VENV) pytest --soak tests/network $(ARGS)

fuzz: venv ## Fuzz udpxfer's parsers and both ends with atheris for SECONDS (default 70)
	@tools/make_fuzz_packages.sh
	@$(IN_VENV) PYTHONPATH=.cache/fuzz python -m tests.fuzz --seconds $(or $(SECONDS),70) $(ARGS)

matrix: venv ## The main job with every supported Ansible and Python, on Alpine and Debian (half an hour)
	@tools/system_requirements.sh matrix
	@$(IN_VENV) pytest tests/matrix $(ARGS)

test-gns3: venv system ## The main job on real GNS3 servers of both versions, with real Docker nodes
	@$(IN_VENV) pytest tests/gns3 $(ARGS)

compare: venv ## Two runs side by side, fails when B is worse: A=RUN [B=latest] [THRESHOLD=0.2]
	@test -n "$(A)" || { echo "make compare: name a run of results/ to compare with: make compare A=20261123T060305Z [B=latest]" >&2; exit 2; }
	@$(IN_VENV) ansible-playbook playbooks/compare_runs.yml -e '{"a": "$(A)", "b": "$(or $(B),latest)"}' \
		$(if $(THRESHOLD),-e compare_runs_threshold=$(THRESHOLD)) $(ARGS)

release: venv ## Wheel and zipapp of udpxfer into dist/, the same bytes for the same sources
	@$(IN_VENV) PYTHONPATH=plugins python tools/release.py

lock: venv ## Renew requirements.lock from pyproject.toml
	@$(IN_VENV) tools/lock.sh

clean: ## Remove .venv and caches (never results, keys or labs)
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .ansible build dist
	find . -name __pycache__ -not -path './.lab/*' -prune -exec rm -rf {} +

venv:
	@tools/make_venv.sh

system:
	@tools/system_requirements.sh lab
