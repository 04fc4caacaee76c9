#!/bin/sh
# Fetch more real text for benchmarks/search.py: the help of LibreOffice (MPL-2.0, parts Apache-2.0) and the manual of
# aptitude (GPL-2+) in many languages, from Debian's packages; nothing is installed. 125 MB to fetch, 1 GB unpacked.
#
#     sh benchmarks/search_peers/texts.sh FOLDER
set -eu
mkdir -p "$1/debs" "$1/root"
cd "$1/debs"
for language in ca cs da de el en-us es et eu fi fr gl hi hu id it ja ko nl pl pt pt-br ru sk sl sv tr vi zh-cn zh-tw; do
    echo "libreoffice-help-$language"
done > ../packages.txt
for language in cs en es fi fr it ja nl ru; do
    echo "aptitude-doc-$language"
done >> ../packages.txt
xargs apt-get download --quiet < ../packages.txt
for package in libreoffice-help-*.deb aptitude-doc-*.deb; do
    dpkg-deb --extract "$package" ../root
done
