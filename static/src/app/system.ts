/** system is the name that people use: "Debian 12" of "Debian GNU/Linux 12 (bookworm)". */
export function system(os: string): string {
  return os
    .replace(/\s*\(.*\)/, "")
    .replace(/ GNU\/Linux\b/, "")
    .replace(/^Red Hat Enterprise Linux\b/, "RHEL")
    .replace(/^SUSE Linux Enterprise Server\b/, "SLES")
    .replace(/^(Amazon Linux \d+)\..*$/, "$1")
    .replace(/ LTS$/, "")
    .trim();
}
