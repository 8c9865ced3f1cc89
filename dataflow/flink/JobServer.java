/**
 * Runs Beam's Flink job server for a cluster that has Beam on its own class path.
 *
 * <p>A job server sends its class path to the cluster with every job. Here that would be all of Beam and Flink, 162 MB.
 */
public class JobServer {
  public static void main(String[] arguments) throws Exception {
    System.setProperty("java.class.path", ""); // the job server sends the files in this property
    org.apache.beam.runners.flink.FlinkJobServerDriver.main(arguments);
  }
}
