# Every verb of the project; `make help` lists them. Extra arguments for Ansible and pytest: ARGS="...".
.DEFAULT_GOAL := help
.PHONY: help run test down status lint docs bench soak fuzz matrix test-gns3 compare release lock clean venv system
MAKEFLAGS += --no-print-directory

ARGS ?=
# Tools of .venv first; /usr/sbin because a plain user's PATH often lacks ip and debugfs.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH:/usr/sbin:/sbin"

help: ## List the targets (default)
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'

run: venv system ## Main job: lab up, five modes, comparison, report (one mode: ARGS="--tags multi_thread")
	@$(IN_VENV) ansible-playbook run_all.yml $(ARGS)

test: venv system ## Every check and test, on a lab of its own
	@$(IN_VENV) pytest $(ARGS)

down: venv system ## Remove the lab and all that a run left behind
	@$(IN_VENV) ansible-playbook playbooks/lab_down.yml $(ARGS)

status: venv system ## Show the lab's hosts
	@$(IN_VENV) ansible-playbook playbooks/lab_status.yml $(ARGS)

lint: venv ## Static checks only: linters, types, specs, syntax
	@$(IN_VENV) pytest tests/static $(ARGS)

docs: venv ## Renew the variable tables in the roles' READMEs
	@$(IN_VENV) python tools/role_docs.py

bench: venv system ## Measure udpxfer beside other transfer programs (all sizes: 40 minutes; ARGS="--sizes 500MB")
	@$(IN_VENV) PYTHONPATH=files python -m bench $(ARGS)

soak: ## Not there yet: long runs on simulated hostile networks
	@$(call open_issue,Prove the engine)

fuzz: ## Not there yet: random datagrams against every parser
	@$(call open_issue,Prove the engine)

matrix: ## Not there yet: the tests over several Ansible and Python versions
	@$(call open_issue,Ansible content that others copy)

test-gns3: ## Not there yet: the main job on a GNS3 server
	@$(call open_issue,GNS3: the same run against a real GNS3 server)

compare: ## Not there yet: two runs side by side
	@$(call open_issue,The report)

release: ## Not there yet: wheel and zipapp of udpxfer
	@$(call open_issue,The front door)

lock: venv ## Renew requirements.lock from pyproject.toml
	@$(IN_VENV) tools/lock.sh

clean: ## Remove .venv and caches (never results, keys or labs)
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .ansible build dist
	find . -name __pycache__ -not -path './.lab/*' -prune -exec rm -rf {} +

venv:
	@tools/make_venv.sh

system:
	@tools/system_requirements.sh lab

# A target whose issue on the road map is still open says so and fails.
define open_issue
echo "make $@: not there yet; it comes with the road map's issue '$(1)'." >&2; exit 1
endef
