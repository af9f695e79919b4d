# Puts $HUKER_PACKAGES of suite $HUKER_SUITE into a minimal Debian.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# Not even unpacked: what is dropped from the image anyway. Copyright files stay until then.
cat >/etc/dpkg/dpkg.cfg.d/huker <<'RULES'
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/lib/*.a
path-exclude=/usr/lib/mysql-test/*
RULES
echo force-unsafe-io >>/etc/dpkg/dpkg.cfg.d/huker # nobody keeps this container: fsync is for nothing

if [ -n "${HUKER_MIRROR:-}" ]; then
	rm -f /etc/apt/sources.list.d/*
	echo "deb $HUKER_MIRROR $HUKER_SUITE main" >/etc/apt/sources.list
fi
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # start nothing
chmod 755 /usr/sbin/policy-rc.d

step "reading the package index of $HUKER_SUITE"
# A mirror that is pinned to a moment has an index past its Valid-Until.
apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 update
step "installing $HUKER_PACKAGES"
# tzdata is needed once, to fill the server's time zone tables.
# shellcheck disable=SC2086
apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 --no-install-recommends install $HUKER_PACKAGES tzdata
