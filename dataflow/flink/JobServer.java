/**
 * Beam's Flink job server, for a cluster that has Beam on its own class path.
 *
 * <p>The job server sends its class path to the cluster with every job, and with this one that is all of Beam and Flink: 162 MB.
 */
public class JobServer {
  public static void main(String[] arguments) throws Exception {
    System.setProperty("java.class.path", ""); // where it looks for what to send
    org.apache.beam.runners.flink.FlinkJobServerDriver.main(arguments);
  }
}
