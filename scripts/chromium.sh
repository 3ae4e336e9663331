#!/usr/bin/env bash
# Installs Debian's Chromium for the tests of the report, when it is missing and this is root. Prints where it is.
set -euo pipefail

if ! command -v chromium > /dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "chromium is missing; as root on Debian: apt-get install chromium fonts-noto-core" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update --quiet=2
  apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-noto-core > /dev/null
fi
command -v chromium
