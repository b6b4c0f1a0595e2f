import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import java.util.List;

/** Serves the data of one file on one port of the loopback address, until SIGTERM. */
class Server {
    /** The lowest version that today's drivers accept; the library's own stops just below it. */
    static final MongoVersion VERSION = new MongoVersion() {
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        public int getWireVersion() {
            return 9;
        }
    };

    public static void main(String[] arguments) {
        var server = new MongoServer(new H2Backend(arguments[0]).version(VERSION));
        server.bind("127.0.0.1", Integer.parseInt(arguments[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        System.out.println("ready");
    }
}
