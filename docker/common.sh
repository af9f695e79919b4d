# Installs Debian packages into an image, small and without starting anything. A mirror that is pinned to a moment has an index past its
# Valid-Until.
set -eu
if [ -n "${MIRROR:-}" ]; then rm -f /etc/apt/sources.list.d/*; echo "deb $MIRROR ${SUITE:-bookworm} main" >/etc/apt/sources.list; fi
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' >/etc/dpkg/dpkg.cfg.d/huker
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 update
DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
