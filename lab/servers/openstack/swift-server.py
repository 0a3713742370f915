"""swift-server.py DIRECTORY KIND: one Swift server with all its configuration in DIRECTORY.

Swift's own commands insist on /etc/swift/swift.conf, whose place has to be changed before anything else is imported.
"""
import sys

directory, kind = sys.argv[1:]

from swift.common import utils  # noqa: E402

utils.SWIFT_CONF_FILE = directory + '/swift.conf'

from swift.common.wsgi import run_wsgi  # noqa: E402

options = {}
if kind == 'object':
    from swift.obj import server

    options['global_conf_callback'] = server.global_conf_callback
sys.exit(run_wsgi('%s/%s.conf' % (directory, kind), kind + '-server', verbose=True, **options))
