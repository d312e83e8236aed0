"""Real servers of protocols that begin in plain and change to TLS, on the `origin` host of harness.World.

Each start_* makes a configuration in the world's directory, starts the server in the foreground and waits until it listens. All of
them show the world's certificate (one.test, two.test, 192.0.2.2, ...).
"""
import glob
import os
import shutil
import subprocess

from harness import run, wait_for

NOBODY = 65534
PASSWORD = "any"


def as_nobody(*command):
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


def directory(world, name, owner="nobody"):
    path = f"{world.dir}/{name}"
    os.makedirs(path)
    shutil.chown(path, owner)
    return path


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def own_key(world, path):
    """A copy of the origin's key that only nobody can read, as these servers want it."""
    key = shutil.copy(f"{world.dir}/origin.key", f"{path}/key.pem")
    shutil.chown(key, "nobody")
    os.chmod(key, 0o600)
    return key


def wait_for_port(world, port):
    def listens():
        return f":{port} " in world.run("ss", "-Hltn", where=world.origin).stdout

    wait_for(listens, f"a server on port {port}")


def start_postfix(world):
    """SMTP on 25. Mail for anybody at one.test goes into the file that is returned."""
    path = f"{world.dir}/postfix"
    for name, owner in (("etc", "root"), ("queue", "root"), ("data", "postfix"), ("mail", "nobody")):
        directory(world, f"postfix/{name}", owner)
    write(f"{path}/etc/main.cf", f"""
compatibility_level = 3.6
queue_directory = {path}/queue
data_directory = {path}/data
maillog_file = {path}/log
maillog_file_prefixes = {path}
myhostname = one.test
mydestination =
alias_maps =
virtual_mailbox_domains = one.test
virtual_mailbox_base = {path}/mail
virtual_mailbox_maps = static:inbox
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {world.dir}/origin.pem
smtpd_tls_key_file = {world.dir}/origin.key
""")
    write(f"{path}/etc/master.cf", """
smtp inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
""")
    run("postfix", "-c", f"{path}/etc", "check")
    # At its end it kills its whole process group: it needs one of its own.
    world.spawn(["/usr/lib/postfix/sbin/master", "-c", f"{path}/etc", "-d"], where=world.origin, start_new_session=True)
    wait_for_port(world, 25)
    return f"{path}/mail/inbox"


def start_dovecot(world):
    """IMAP on 143, POP3 on 110; TLS is required; any user, any password."""
    path = directory(world, "dovecot")
    os.makedirs(f"{path}/home")
    shutil.chown(f"{path}/home", "nobody")
    write(f"{path}/conf", f"""
base_dir = {path}/run
log_path = {path}/log
protocols = imap pop3
ssl = required
ssl_cert = <{world.dir}/origin.pem
ssl_key = <{world.dir}/origin.key
mail_location = maildir:{path}/home/mail
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={path}/home
}}
""")
    world.spawn(["dovecot", "-F", "-c", f"{path}/conf"], where=world.origin)
    for port in (143, 110):
        wait_for_port(world, port)


def start_vsftpd(world):
    """FTP on 21 for anonymous, TLS required for commands and data; serves the file `readme`."""
    path = directory(world, "vsftpd", "root")
    os.makedirs(f"{path}/root")
    os.makedirs(f"{path}/empty")
    write(f"{path}/root/readme", "read over TLS\n")
    # A session of the control connection cannot be resumed in a data connection through osproxy: require_ssl_reuse=NO.
    write(f"{path}/conf", f"""listen=YES
background=NO
anonymous_enable=YES
ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=NO
ssl_ciphers=HIGH
rsa_cert_file={world.dir}/origin.pem
rsa_private_key_file={world.dir}/origin.key
anon_root={path}/root
ftp_username=bin
nopriv_user=nobody
secure_chroot_dir={path}/empty
seccomp_sandbox=NO
""")
    world.spawn(["vsftpd", f"{path}/conf"], where=world.origin)
    wait_for_port(world, 21)


def start_slapd(world):
    """LDAP on 389; its root entry can be read."""
    path = directory(world, "slapd", "root")
    write(f"{path}/conf", f"""include /etc/ldap/schema/core.schema
TLSCertificateFile {world.dir}/origin.pem
TLSCertificateKeyFile {world.dir}/origin.key
database config
""")
    world.spawn(["slapd", "-d", "0", "-f", f"{path}/conf", "-h", "ldap://192.0.2.2:389"], where=world.origin)
    wait_for_port(world, 389)


def start_postgresql(world, port, tls=True):
    """As nobody, without a password."""
    path = directory(world, f"postgresql-{port}")
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    run(*as_nobody(f"{programs}/initdb", "-D", f"{path}/data", "-A", "trust", "-U", "me", "--no-sync"), cwd=path)
    with open(f"{path}/data/pg_hba.conf", "a") as file:
        file.write("host all all 0.0.0.0/0 trust\n")
    options = {"listen_addresses": "192.0.2.2", "port": port, "unix_socket_directories": path, "fsync": "off", "ssl": "on" if tls else "off"}
    if tls:
        options |= {"ssl_cert_file": f"{world.dir}/origin.pem", "ssl_key_file": own_key(world, path)}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    world.spawn(as_nobody(f"{programs}/postgres", "-D", f"{path}/data", *words), where=world.origin, cwd=path)
    wait_for_port(world, port)


def start_mariadb(world):
    """On 3306, as nobody, without a password, and with nothing in it."""
    path = directory(world, "mariadb")
    os.makedirs(f"{path}/data/mysql")
    for name in ("data", "data/mysql"):
        shutil.chown(f"{path}/{name}", "nobody")
    options = [f"--datadir={path}/data", f"--socket={path}/socket", f"--pid-file={path}/pid", "--bind-address=192.0.2.2",
               f"--ssl-cert={world.dir}/origin.pem", f"--ssl-key={own_key(world, path)}", "--skip-grant-tables", "--skip-log-bin",
               "--skip-networking=0", "--innodb=OFF", "--default-storage-engine=Aria", f"--log-error={path}/log"]
    world.spawn(as_nobody("mariadbd", "--no-defaults", *options), where=world.origin, cwd=path, stderr=subprocess.DEVNULL)
    wait_for_port(world, 3306)
